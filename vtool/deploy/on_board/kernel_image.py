"""Stands for ``vtool.files.kernel_image``, which is packed in its place (``vtool.deploy.board_program``)."""

from vtool.files.kernel_image import options_of, unpacked

__all__ = ["options_of", "unpacked"]
