"""`sweep watch`: a page on this machine that shows the report of a run and follows it while it goes on."""
