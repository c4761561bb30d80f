"""What runs measured, as one page and as data: tables, plots, pictures. Part of ``vtool[bench]``. Enter at ``page``."""
