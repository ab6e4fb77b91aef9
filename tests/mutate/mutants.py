"""Makes mutants of a C source, with one small change each, using regular expressions.

It relies on the layout of this project's sources: a function body starts with { and ends with } in
the first column, and each statement starts on a new line. Only function bodies are changed.
"""

import collections
import re

# line and mutated are the whole lines that differ; start to end is the changed part of the file.
Mutant = collections.namedtuple("Mutant",
                                "file number function kind line mutated start end became")

SWAPS = (("FROM", "TO"), ("MINE", "THEIRS"), ("ENOENT", "EEXIST"), ("EAGAIN", "EBUSY"),
         ("EACCES", "EPERM"), ("ENOSYS", "EINVAL"), ("EMFILE", "ENFILE"), ("EINTR", "EIO"),
         ("ECONNREFUSED", "EPROTOTYPE"), ("true", "false"), ("F_RDLCK", "F_WRLCK"),
         ("RENAME_NOREPLACE", "RENAME_EXCHANGE"), ("S_ISSOCK", "S_ISREG"),
         ("SOCK_STREAM", "SOCK_DGRAM"), ("EXIT_SUCCESS", "EXIT_FAILURE"),
         ("memory_order_acquire", "memory_order_relaxed"))
RELATIONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
# The start of a declaration up to the length of an array, such as "char name[".
ARRAY = re.compile(r"\s*(?!return\b)(?:\w+\s+)+\**\w+(?:\[[^]]*\])*(?:, \w+(?:\[[^]]*\])*)*\[\Z")
KEYWORDS = r"if|for|while|do|return|switch|case|default|goto|else|sizeof"
DECLARATION = re.compile(r"(?:\w+\s+)+\**\w+\s*[=;,\[(]|(?:\w+\s+)+\*+\w+|\w+ \(\*\w+\)\(")


def blank(found):
    """Replaces a match by spaces, but keeps newlines."""
    return re.sub(r"[^\n]", " ", found.group())


COMMENT = r"/\*.*?\*/"
LITERAL = r'"(?:\\.|[^"\\\n])*"' r"|'(?:\\.|[^'\\\n])*'"


def bare(text):
    """Returns the text with comments blanked. Offsets do not change."""
    return re.sub(f"{COMMENT}|{LITERAL}",
                  lambda found: blank(found) if found.group()[0] == "/" else found.group(), text,
                  flags=re.DOTALL)


def mask(text):
    """The same with literals and preprocessor lines blanked too."""
    text = re.sub(f"{COMMENT}|{LITERAL}", blank, text, flags=re.DOTALL)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.MULTILINE)


def closing(text, at):
    """Returns the offset of the bracket that closes the one at this offset."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    return len(text) - 1


def functions(masked):
    """Yields (start, end, name, type) of each function body."""
    for found in re.finditer(r"^\{\n(.*?)^\}", masked, re.MULTILINE | re.DOTALL):
        head = masked[:found.start()]
        header = re.split(r"\n\s*\n|^\}|;", head, flags=re.MULTILINE)[-1]
        header = re.sub(r"__attribute__\(\(.*?\)\)", "", header).strip()
        named = re.search(r"(\w+)\(", header)
        if named:
            yield found.start(1), found.end(1), named.group(1), header[:named.start()].strip()


def enumerators(texts):
    """Maps each constant to the next one in its enumeration."""
    neighbours = {}
    for text in texts:
        for body in re.findall(r"\benum\b[^;{}()]*\{([^}]*)\}", mask(text)):
            names = re.findall(r"(\w+)\s*(?:=[^,}]*)?(?:,|$|\s*$)", body.strip())
            for name, following in zip(names, names[1:] + names[:1]):
                if name != following:
                    neighbours[name] = following
    return neighbours


def conditions(body):
    """Negates the conditions of if and while."""
    for found in re.finditer(r"\b(?:if|while) \(", body):
        end = closing(body, found.end() - 1)
        yield "negate", found.end(), end, lambda was: f"!({was})"


def operators(body):
    for found in re.finditer(r"&&|\|\|", body):
        became = {"&&": "||", "||": "&&"}[found.group()]
        yield {"&&": "and-or", "||": "or-and"}[found.group()], *found.span(), became
    for found in re.finditer(r"(?<= )(<=?|>=?|==|!=)(?= |\n)", body):
        yield "relational", *found.span(), RELATIONS[found.group()]
    for found in re.finditer(r"(?<= )[+-](?= )", body):
        yield "arithmetic", *found.span(), "-" if found.group() == "+" else "+"
    for found in re.finditer(r"!(?![=])", body):
        yield "drop-not", *found.span(), ""
    for flag in (r" \|\s+\b[A-Z][A-Z0-9_]+\b(?!\()", r"(?<!\| )\b[A-Z][A-Z0-9_]+\b \|(?!\|)\s+"):
        for found in re.finditer(flag, body):
            yield "drop-flag", *found.span(), ""


def values(body, neighbours):
    """Changes constants. Leaves the length of an array: no test notices that it is longer."""
    for found in re.finditer(r"(?<![\w.])\d+(?![\w.])", body):
        if ARRAY.match(body[body.rfind("\n", 0, found.start()) + 1:found.start()]):
            continue
        became = {"0": "1", "1": "0"}.get(found.group(), str(int(found.group(), 10) + 1))
        yield "constant", *found.span(), became
    both = {**neighbours, **dict(SWAPS), **{b: a for a, b in SWAPS}}
    for found in re.finditer(r"(?<!case )(?<!enum )\b[A-Za-z]\w*\b", body):
        if found.group() in both:
            yield "swap", *found.span(), both[found.group()]


def statements(body):
    """Deletes calls, assignments, break, continue and similar statements."""
    for found in re.finditer(r"(?:^|(?<=[{};:)])|(?<=\belse))\s*\n\s*(?=[\w*(+-])", body):
        rest = body[found.end():]
        end = 0
        while end < len(rest) and rest[end] not in ";{":
            end = closing(rest, end) if rest[end] == "(" else end
            end += 1
        statement = rest[:end + 1]
        if not statement.endswith(";") or re.match(rf"({KEYWORDS})\b", statement) or \
                DECLARATION.match(statement):
            continue
        yield "delete", found.end(), found.end() + end + 1, ";"


def returns(body, of_type):
    for found in re.finditer(r"\breturn ([^;]+);", body):
        value = found.group(1)
        if value in ("true", "false"):
            continue  # values() swaps these
        if of_type.split()[-1:] == ["bool"]:
            yield "return", *found.span(1), lambda was: f"!({was})"
        elif value == "0":
            yield "return", *found.span(1), "-1"
        else:
            yield "return", *found.span(1), "0"


def mutants_of(name, text, neighbours):
    """Returns all mutants of a file, in the order of the text."""
    masked, code = mask(text), bare(text)
    found = {}
    for start, end, function, of_type in functions(masked):
        body = "\n" + re.sub(r"\benum\b[^;(){}]*\{[^}]*\}", blank, masked[start:end])
        for kind, first, last, became in (*conditions(body), *operators(body),
                                          *values(body, neighbours), *statements(body),
                                          *returns(body, of_type)):
            first, last = first + start - 1, last + start - 1
            if callable(became):
                became = became(text[first:last])
            line, mutated = lines(code, first, last, became)
            found.setdefault((first, last, became), Mutant(
                name, text.count("\n", 0, first) + 1, function, kind, line, mutated, first,
                last, became))
    return [found[key] for key in sorted(found)]


def lines(code, first, last, became):
    """Returns the changed lines before and after the change, each joined into one line."""
    start, end = code.rfind("\n", 0, first) + 1, code.find("\n", last)
    return (on_one_line(code[start:end]),
            on_one_line(code[start:first] + became + code[last:end]))


def on_one_line(text):
    return re.sub(r"\s+", " ", text).strip()
