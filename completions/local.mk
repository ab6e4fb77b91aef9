# bash-completion finds a command's words by its name, with or without the suffix.
EXTRA_DIST += completions/sockguard.bash completions/_sockguard
if COMMAND
bashcompletion_DATA = completions/sockguard.bash
zshcompletion_DATA = completions/_sockguard
endif
