"""Reads files of explanations: tests/coverage/explained and tests/mutate/explained."""

import sys

RACE_SUFFIX = " (a race)"


def read_explanations(path, entry_noun, why_clause):
    """Returns {entry: reason}, and the set of the entries whose outcome depends on a race.

    An entry is an unindented line. Its reason is the indented lines below it. If a race decides
    whether the entry applies, its line ends with RACE_SUFFIX. Exits with a message if the file is
    malformed; the message calls an entry `entry_noun`, or says
    "no reason is given why " + why_clause + entry.
    """
    explained, race_entries, entry = {}, set(), None
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line[0].isspace() and entry:
                explained[entry] = f"{explained[entry]} {line.strip()}".strip()
            elif not line[0].isspace() and line.strip().removesuffix(RACE_SUFFIX) not in explained:
                entry = line.strip().removesuffix(RACE_SUFFIX)
                explained[entry] = ""
                if line.strip().endswith(RACE_SUFFIX):
                    race_entries.add(entry)
            else:
                sys.exit(f"{path}:{number}: a reason without a {entry_noun}, "
                         f"or a repeated {entry_noun}")
    for entry, reason in explained.items():
        if not reason:
            sys.exit(f"{path}: no reason is given why {why_clause}{entry}")
    return explained, race_entries
