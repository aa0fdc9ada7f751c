"""Reports, a pure function of the rows in a results folder."""
