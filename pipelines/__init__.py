"""One file a job: which places are read, which transforms run, where results go."""
