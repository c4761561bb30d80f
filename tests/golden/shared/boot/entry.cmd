# vtool: what is on trial boots once; then the last good generation, the one before it, what the board came with.
# A good one that started 3 times without Linux saying that it is up comes after the one before it.
setenv vtool_state
setenv vtool_good
setenv vtool_good_set
setenv vtool_last
setenv vtool_last_set
setenv vtool_trial
setenv vtool_trial_set
setenv vtool_count
virtio read 0x50000000 7f8 1
env import -t 0x50000000 200 vtool_state vtool_good vtool_good_set vtool_last vtool_last_set vtool_trial vtool_trial_set vtool_count
if test "${vtool_state}" != 1; then
  load virtio 0:1 0x50000000 vtool/state.env
  env import -t 0x50000000 ${filesize} vtool_state vtool_good vtool_good_set vtool_last vtool_last_set vtool_trial vtool_trial_set vtool_count
fi
setenv vtool_save 'env export -t -s 200 0x50000000 vtool_state vtool_good vtool_good_set vtool_last vtool_last_set vtool_trial vtool_trial_set vtool_count; virtio write 0x50000000 7f8 1'
setenv vtool_start 'echo vtool: generation ${vtool_generation}; load virtio 0:1 0x50000000 vtool/${vtool_set}/boot.scr; source 0x50000000'
if test -n "${vtool_trial}"; then
  setenv vtool_generation ${vtool_trial}
  setenv vtool_set ${vtool_trial_set}
  setenv vtool_trial
  setenv vtool_trial_set
  if run vtool_save; then run vtool_start; fi
fi
if test -z "${vtool_count}"; then setenv vtool_count 0; fi
setexpr vtool_count ${vtool_count} + 1
if test -n "${vtool_good}"; then run vtool_save; fi
if itest 0x${vtool_count} -gt 3; then
  if test -n "${vtool_last}"; then
    setenv vtool_generation ${vtool_last}
    setenv vtool_set ${vtool_last_set}
    run vtool_start
  fi
fi
if test -n "${vtool_good}"; then
  setenv vtool_generation ${vtool_good}
  setenv vtool_set ${vtool_good_set}
  run vtool_start
fi
if test -n "${vtool_last}"; then
  setenv vtool_generation ${vtool_last}
  setenv vtool_set ${vtool_last_set}
  run vtool_start
fi
echo vtool: what the board came with
if load virtio 0:1 0x50000000 boot.scr.before-vtool; then
  if itest 0x${filesize} -gt 0; then source 0x50000000; fi
fi
sysboot virtio 0:1 any 0x50000000 /extlinux/extlinux.conf.before-vtool
sysboot virtio 0:1 any 0x50000000 /boot/extlinux/extlinux.conf.before-vtool
