"""The lines of a matched place after the edit: kept ones byte for byte, new ones in the file's manner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from weft.agent.edits.indent import indentation, reindent
from weft.agent.edits.lines import Block, Line, Lines, is_blank
from weft.agent.edits.locate import Match
from weft.agent.edits.model import EditError
from weft.agent.edits.normalise import alphabet, in_the_files_characters, key, plain


def rewrite(lines: Lines, search: Sequence[str], edit: Sequence[Block], match: Match) -> list[Line]:
    """What stands in place of `match.lines` once the edit is done."""
    return _Rewriting(lines, search, edit, match).run()


class _Rewriting:
    def __init__(self, lines: Lines, search: Sequence[str], edit: Sequence[Block], match: Match) -> None:
        self.lines, self.search, self.edit, self.match = lines, search, edit, match
        new = [text for block in edit for text in block.new or () if not is_blank(text)]
        self.indents = self._indents({indentation(text) for text in new})
        self.seen = alphabet([(_bare(s), _bare(lines.texts[i])) for s, i in self._placed(range(len(search)))])
        endings = Counter(line.ending for line in lines.slice(match.lines) if line.ending)
        self.ending = endings.most_common(1)[0][0] if endings else lines.common_ending
        self.cursor = match.lines.start
        self.out: list[Line] = []

    def run(self) -> list[Line]:
        for block in self.edit:
            if block.new is None:
                self._keep(block)
            else:
                self._change(block, block.new)
        self._take(self.match.lines.stop)
        return self._finish()

    def _indents(self, wanted: set[str]) -> dict[str, str]:
        """What each indentation of new lines is in the file; odd blanks only where the file has them."""
        placed = self._placed(range(len(self.search)))
        pairs = [(indentation(s), indentation(self.lines.texts[i])) for s, i in placed if not is_blank(s)]
        if any(theirs != plain(theirs) for _, theirs in pairs) and (odd := reindent(pairs, wanted)):
            return odd
        usual = reindent([(plain(ours), plain(theirs)) for ours, theirs in pairs], map(plain, wanted)) or {}
        return {indent: usual[plain(indent)] for indent in wanted}

    def _placed(self, old: range) -> list[tuple[str, int]]:
        return [(self.search[k], i) for k in old if (i := self.match.at[k]) is not None]

    def _next_placed(self, k: int) -> int:
        """The file line of the first search line from `k` on that has one; the cursor when none has."""
        following = self._placed(range(k, len(self.search)))
        return following[0][1] if following else self.cursor

    def _take(self, stop: int) -> None:
        self.out.extend(self.lines.slice(range(self.cursor, stop)))
        self.cursor = max(self.cursor, stop)

    def _keep(self, block: Block) -> None:
        if placed := self._placed(block.old):
            self._take(placed[-1][1] + 1)

    def _change(self, block: Block, new: tuple[str, ...]) -> None:
        placed = self._placed(block.old)
        self._refuse_drift(block)
        if placed:
            self._take(placed[0][1])
            self.cursor = placed[-1][1] + 1
        elif self.out and self._next_placed(block.old.stop) != self.cursor:
            raise _drift()
        old = [self.lines.line(i) for _, i in placed]
        texts = self._in_the_files_manner(placed, new)
        paired = len(old) == len(texts)
        self.out.extend(
            Line(text, (old[n].ending if paired else "") or self.ending) for n, text in enumerate(texts)
        )

    def _refuse_drift(self, block: Block) -> None:
        """A change that begins or ends inside blank lines of which the file has another number is unclear."""
        if not block.old:
            return
        solid = [k for k, text in enumerate(self.search) if not is_blank(text)]
        for edge in (block.old.start, block.old.stop - 1):
            inner = solid[0] < edge < solid[-1]
            if self.match.at[edge] is None and (inner or not self._placed(block.old)):
                raise _drift()

    def _in_the_files_manner(self, placed: list[tuple[str, int]], new: tuple[str, ...]) -> list[str]:
        bare = "\n".join(_bare(text) for text in new)
        if self.seen:
            ours = "\n".join(_bare(text) for text, _ in placed)
            theirs = "\n".join(_bare(self.lines.texts[i]) for _, i in placed)
            bare = in_the_files_characters(ours, theirs, bare, self.seen)
        texts = []
        for text, body in zip(new, bare.split("\n"), strict=True) if new else ():
            trailing = text[len(text.rstrip()) :]
            texts.append(text if is_blank(text) else self.indents[indentation(text)] + body + trailing)
        return texts

    def _finish(self) -> list[Line]:
        """Only the last line of a file may lack an ending, and it does if it did before."""
        open_end = self.lines.line(self.match.lines.stop - 1).ending == ""
        out = [Line(line.text, line.ending or self.ending) for line in self.out]
        if open_end and out:
            out[-1] = Line(out[-1].text, "")
        return out


def _bare(text: str) -> str:
    return text.strip() if key(text) else ""


def _drift() -> EditError:
    return EditError("the file has another number of blank lines where the edit changes them")
