"""vtool-board: the part of vtool that runs on a board, as root. Python >= 3.8, standard library only.

``vtool.deploy.board_program`` packs these modules into one executable file (a zipapp). It speaks JSON on stdin and
stdout; an error is ``{"error": {"code", "message", "hints", "detail"}}`` and exit code 3. It decides
nothing: what is to be there comes in a generation file, what is to be looked at as a list of steps.
"""
