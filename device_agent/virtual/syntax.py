"""The shell's grammar: text to a tree, after POSIX.1-2017, "Shell Command Language".

Left out, because no command of ours uses them: here-documents, functions, `case`, arithmetic, aliases.
"""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.virtual.tree import (
    AndOr,
    Command,
    Compound,
    For,
    If,
    Pipeline,
    Redirect,
    Script,
    Simple,
    Substitution,
    Text,
    Variable,
    While,
    Word,
)


class ShellSyntaxError(Exception):
    """The text is not a command that this shell understands."""


@dataclass(frozen=True)
class _Token:
    kind: str  # "word", "operator" or "end"
    text: str
    word: Word = ()


_OPERATORS = ("&&", "||", ">>", ">&", "<&", "&", "|", ";", "(", ")", "<", ">", "\n")
_REDIRECTS = ("<", ">", ">>", ">&", "<&")
_ENDERS = frozenset({"then", "do", "done", "fi", "else", "elif", "}"})


def parse(text: str) -> Script:
    """The tree of a script.

    Raises:
        ShellSyntaxError: It cannot be understood.
    """
    parser = _Parser(_Lexer(text).tokens())
    script = parser.script()
    parser.expect_end()
    return script


class _Lexer:
    """Characters to tokens."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def tokens(self) -> list[_Token]:
        tokens = []
        while self._skip_blanks():
            tokens.append(self._operator() or self._word())
        return [*tokens, _Token("end", "end of input")]

    def _skip_blanks(self) -> bool:
        while self._at < len(self._text):
            if self._text.startswith("\\\n", self._at):
                self._at += 2
            elif self._text[self._at] in " \t":
                self._at += 1
            elif self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            else:
                return True
        return False

    def _operator(self) -> _Token | None:
        digits = self._at
        while digits < len(self._text) and self._text[digits].isdigit():
            digits += 1
        for operator in _OPERATORS:
            if self._text.startswith(operator, self._at):
                self._at += len(operator)
                return _Token("operator", operator)
            if operator in _REDIRECTS and digits > self._at and self._text.startswith(operator, digits):
                number, self._at = self._text[self._at : digits], digits + len(operator)
                return _Token("operator", number + operator)
        return None

    def _word(self) -> _Token:
        start, parts = self._at, list[Text | Variable | Substitution]()
        while self._at < len(self._text) and self._text[self._at] not in " \t\n;&|<>()":
            self._part(parts, self._text[self._at])
        return _Token("word", self._text[start : self._at], tuple(parts))

    def _part(self, parts: list[Text | Variable | Substitution], character: str) -> None:
        self._at += 1
        if character == "'":
            end = self._find("'")
            parts.append(Text(self._text[self._at : end], True))
            self._at = end + 1
        elif character == '"':
            parts.append(Text("", True))
            while self._peek() != '"':
                self._double_quoted(parts)
            self._at += 1
        elif character == "\\":
            following = self._text[self._at : self._at + 1]
            parts.append(Text("" if following == "\n" else following, following != "\n"))
            self._at += 1
        elif character == "$":
            parts.append(self._dollar(False))
        elif character == "`":
            end = self._find("`")
            parts.append(Substitution(parse(self._text[self._at : end]), False))
            self._at = end + 1
        else:
            parts.append(Text(character, False))

    def _double_quoted(self, parts: list[Text | Variable | Substitution]) -> None:
        character = self._peek()
        self._at += 1
        if character == "$":
            parts.append(self._dollar(True))
        elif character == "\\" and self._peek() in '$`"\\\n':
            parts.append(Text("" if self._peek() == "\n" else self._peek(), True))
            self._at += 1
        else:
            parts.append(Text(character, True))

    def _dollar(self, quoted: bool) -> Text | Variable | Substitution:
        following = self._text[self._at : self._at + 1]
        if following == "(":
            end = self._closing(self._at)
            inner = self._text[self._at + 1 : end]
            self._at = end + 1
            return Substitution(parse(inner), quoted)
        if following == "{":
            end = self._find("}")
            name, dash, default = self._text[self._at + 1 : end].partition("-")
            self._at = end + 1
            return Variable(name.rstrip(":"), quoted, default if dash else None)
        if following and following in "?$!#@*0123456789":
            self._at += 1
            return Variable(following, quoted)
        end = self._at
        while end < len(self._text) and (self._text[end].isalnum() or self._text[end] == "_"):
            end += 1
        name, self._at = self._text[self._at : end], end
        return Variable(name, quoted) if name else Text("$", quoted)

    def _closing(self, start: int) -> int:
        """Where the bracket that opens at `start` closes, quotes respected."""
        depth, at, quote = 0, start, ""
        while at < len(self._text):
            character = self._text[at]
            if character == "\\" and quote != "'":
                at += 1
            elif quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            elif character in "()":
                depth += 1 if character == "(" else -1
                if depth == 0:
                    return at
            at += 1
        raise ShellSyntaxError("unexpected end of input: no closing bracket")

    def _find(self, character: str) -> int:
        end = self._text.find(character, self._at)
        if end < 0:
            raise ShellSyntaxError(f"unexpected end of input: no closing {character}")
        return end

    def _peek(self) -> str:
        if self._at >= len(self._text):
            raise ShellSyntaxError('unexpected end of input: no closing "')
        return self._text[self._at]


class _Parser:
    """Tokens to a tree, by recursive descent."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def script(self) -> Script:
        items = []
        self._skip_separators()
        while not self._at_end():
            items.append(self._and_or())
            self._skip_separators()
        return Script(tuple(items))

    def expect_end(self) -> None:
        if self._now.kind != "end":
            raise ShellSyntaxError(f"unexpected '{self._now.text}'")

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _is(self, *texts: str) -> bool:
        return self._now.kind != "end" and self._now.text in texts

    def _at_end(self) -> bool:
        return self._now.kind == "end" or self._now.text == ")" or self._now.text in _ENDERS

    def _take(self) -> _Token:
        token = self._now
        self._at += 1
        return token

    def _expect(self, text: str) -> None:
        if not self._is(text):
            raise ShellSyntaxError(f"expected '{text}', got '{self._now.text}'")
        self._at += 1

    def _skip_separators(self) -> None:
        while self._is(";", "\n"):
            self._at += 1

    def _skip_newlines(self) -> None:
        while self._is("\n"):
            self._at += 1

    def _and_or(self) -> AndOr:
        pipelines = [("&&", self._pipeline())]
        while self._is("&&", "||"):
            connector = self._take().text
            self._skip_newlines()
            pipelines.append((connector, self._pipeline()))
        background = self._is("&")
        if background:
            self._at += 1
        elif not (self._at_end() or self._is(";", "\n")):
            raise ShellSyntaxError(f"unexpected '{self._now.text}'")
        return AndOr(tuple(pipelines), background)

    def _pipeline(self) -> Pipeline:
        negated = self._is("!")
        if negated:
            self._at += 1
        commands = [self._command()]
        while self._is("|"):
            self._at += 1
            self._skip_newlines()
            commands.append(self._command())
        return Pipeline(tuple(commands), negated)

    def _command(self) -> Command:
        if self._is("("):
            return self._bracketed(")", True)
        if self._is("{"):
            return self._bracketed("}", False)
        if self._is("if"):
            return self._if()
        if self._is("for"):
            return self._for()
        if self._is("while", "until"):
            return self._while()
        return self._simple()

    def _bracketed(self, closing: str, subshell: bool) -> Compound:
        self._at += 1
        body = self.script()
        self._expect(closing)
        return Compound(body, subshell, self._redirects())

    def _if(self) -> If:
        branches, otherwise = [], None
        while self._is("if", "elif"):
            self._at += 1
            condition = self.script()
            self._expect("then")
            branches.append((condition, self.script()))
        if self._is("else"):
            self._at += 1
            otherwise = self.script()
        self._expect("fi")
        return If(tuple(branches), otherwise, self._redirects())

    def _for(self) -> For:
        self._at += 1
        name, words = self._take().text, list[Word]()
        self._expect("in")
        while self._now.kind == "word":
            words.append(self._take().word)
        self._skip_separators()
        self._expect("do")
        body = self.script()
        self._expect("done")
        return For(name, tuple(words), body, self._redirects())

    def _while(self) -> While:
        until = self._take().text == "until"
        condition = self.script()
        self._expect("do")
        body = self.script()
        self._expect("done")
        return While(condition, body, until, self._redirects())

    def _redirects(self) -> tuple[Redirect, ...]:
        redirects = []
        while (redirect := self._redirect()) is not None:
            redirects.append(redirect)
        return tuple(redirects)

    def _redirect(self) -> Redirect | None:
        operator = self._now.text.lstrip("0123456789") if self._now.kind == "operator" else ""
        if operator not in _REDIRECTS:
            return None
        number = self._take().text.removesuffix(operator)
        if self._now.kind != "word":
            raise ShellSyntaxError(f"unexpected '{self._now.text}'")
        descriptor = int(number) if number else (0 if operator.startswith("<") else 1)
        return Redirect(descriptor, operator, self._take().word)

    def _simple(self) -> Simple:
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            if (redirect := self._redirect()) is not None:
                redirects.append(redirect)
            elif self._now.kind != "word":
                break
            else:
                token = self._take()
                name, equals, _ = token.text.partition("=")
                if not words and equals and name.isidentifier():
                    # Unquoted characters are one part each, so the name and the sign are that many parts.
                    assignments.append((name, token.word[len(name) + 1 :]))
                else:
                    words.append(token.word)
        if not (assignments or words or redirects):
            raise ShellSyntaxError(f"unexpected '{self._now.text}'")
        return Simple(tuple(assignments), tuple(words), tuple(redirects))
