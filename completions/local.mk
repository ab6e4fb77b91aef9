# bash-completion looks for NAME and NAME.bash, so the file may have the suffix.
EXTRA_DIST += completions/sockguard.bash completions/_sockguard
if COMMAND
bashcompletion_DATA = completions/sockguard.bash
zshcompletion_DATA = completions/_sockguard
endif
