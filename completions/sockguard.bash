# shellcheck shell=bash
# Completion of sockguard for bash. The arguments of the program that sockguard run starts are completed
# only if bash-completion is installed. Everything else works without it.

_sockguard_words() { # CANDIDATE...
	mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur")
}

# Completes directories, and files for which TEST succeeds.
_sockguard_files() { # TEST
	local file
	compopt -o filenames 2>/dev/null
	while IFS= read -r file; do
		if [[ -d $file ]] || "$1" "$file"; then COMPREPLY+=("$file"); fi
	done < <(compgen -f -- "$cur")
}

_sockguard_is_socket() {
	[[ -S $1 ]]
}

_sockguard_is_cleanable() {
	[[ -S $1 || $1 == ?(*/).*.sockguard ]]
}

_sockguard_is_there() {
	[[ -e $1 ]]
}

_sockguard_pids() {
	local file
	for file in /proc/[0-9]*; do
		[[ ${file##*/} != "$cur"* ]] || COMPREPLY+=("${file##*/}")
	done
}

_sockguard_units() {
	mapfile -t COMPREPLY < <(compgen -W "$(
		{
			systemctl --no-legend --no-pager --plain list-units --all --type=service
			systemctl --no-legend --no-pager --plain list-unit-files --type=service
		} 2>/dev/null | awk '{print $1}' | sort -u
	)" -- "$cur")
}

_sockguard_programs() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <({
		compgen -c -- "$cur"
		[[ $cur != */* ]] || compgen -d -- "$cur"
	} | sort -u)
}

# Completes the value of an option of sockguard run. Fails if the option does not take a value.
_sockguard_value() { # OPTION
	case $1 in
	--reuse) _sockguard_words auto always never ;;
	--by) _sockguard_words auto preload syscalls ;;
	--log)
		_sockguard_words stderr syslog none
		[[ $cur != /* ]] || _sockguard_files _sockguard_is_there
		;;
	--only | --ignore) _sockguard_files _sockguard_is_there ;;
	*) return 1 ;;
	esac
}

# Prints the index of the program after sockguard run; COMP_CWORD or more if it is not there yet.
_sockguard_program_at() {
	local i
	for ((i = at + 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			i=$((i + 1))
			break
			;;
		--only | --ignore | --reuse | --log | --by)
			[[ ${COMP_WORDS[i + 1]} != = ]] || i=$((i + 1))
			i=$((i + 1))
			;;
		-*) ;;
		*) break ;;
		esac
	done
	echo "$i"
}

_sockguard_run() {
	local program
	program=$(_sockguard_program_at)
	if ((program < COMP_CWORD)); then
		if declare -F _command_offset >/dev/null; then
			_command_offset "$program"
		else
			_sockguard_files _sockguard_is_there
		fi
	elif _sockguard_value "$prev"; then
		return
	elif [[ $cur == -* && $prev != -- ]]; then
		_sockguard_words --only --ignore --reuse --log --debug --by --no-io-uring --strict --help
	else
		_sockguard_programs
	fi
}

_sockguard() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} at=1
	COMPREPLY=()
	if [[ $cur == = ]]; then # --reuse= is two words
		cur=''
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if ((COMP_CWORD == 1)); then
		_sockguard_words run status check clean unit --help --version
		return
	fi
	case ${COMP_WORDS[at]}:$cur in
	run:*) _sockguard_run ;;
	status:-* | check:-*) _sockguard_words --json --help ;;
	clean:-*) _sockguard_words --dry-run --verbose --help ;;
	unit:-*) _sockguard_words --help ;;
	status:*) _sockguard_files _sockguard_is_socket ;;
	check:[0-9]*) _sockguard_pids ;;
	check:*) _sockguard_programs ;;
	clean:*) _sockguard_files _sockguard_is_cleanable ;;
	unit:*) _sockguard_units ;;
	esac
}

complete -F _sockguard sockguard
