"""The documentation as a site, by Zensical (mkdocs.yml): `make docs` builds it into out/site.

The pages are those that are read in a checkout, with the links that work there. The site's front
page is README.md; a file outside docs/ that a page links to (an example, a source file) becomes a
page, too. They are gathered in out/pages, and the site is made from there.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "out" / "pages"
SITE = ROOT / "out" / "site"
DOCS = PurePosixPath("docs")
HOME = PurePosixPath("README.md")
# Where the site keeps what lies outside docs/.
OUTSIDE = PurePosixPath("files")
# A link to a file, or code, in which nothing is one.
_LINK = re.compile(
    r"^(?P<fence>```+).*?^(?P=fence)|`[^`\n]+`|(?<=\]\()(?![a-z]+:)(?P<file>[^)#\s]+)(?=[)#])",
    re.MULTILINE | re.DOTALL,
)
_LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".py": "python", ".sh": "bash", ".tpl": "yaml"}


def gathered() -> dict[PurePosixPath, str]:
    """Place on the site → its Markdown, of every page.

    Raises LookupError, naming page and link, where a link leads to nothing.
    """
    waiting = [HOME, *sorted(PurePosixPath(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
    seen, found = set(waiting), {}
    while waiting:
        source = waiting.pop()
        found[place(source)] = page(source)
        new = set(_targets(source)) - seen
        waiting += sorted(new)
        seen |= new
    return found


def page(source: PurePosixPath) -> str:
    """A file of the repository as a page, with its links as they lead within the site."""
    text, here = (ROOT / source).read_text(), str(place(source).parent)
    if source.suffix != ".md":
        return f"# {source}\n\n````{_LANGUAGES.get(source.suffix, 'text')}\n{text}````\n"

    def led(match: re.Match[str]) -> str:
        link = match["file"]
        return relpath(str(place(target(source, link))), here) if link else match[0]

    return _LINK.sub(led, text)


def target(source: PurePosixPath, link: str) -> PurePosixPath:
    """The file of the repository that a link in `source` means; of a folder its README.md, else its
    first manifest."""
    path = PurePosixPath(normpath(source.parent / link))
    inside = [path / "README.md", *(path / p.name for p in sorted((ROOT / path).glob("*.yaml")))]
    for file in [path, *inside]:
        if ".." not in file.parts and (ROOT / file).is_file():
            return file
    raise LookupError(f"{source} links to {link}, where there is no file")


def place(path: PurePosixPath) -> PurePosixPath:
    """Where a file of the repository lies on the site."""
    if path == HOME:
        return PurePosixPath("index.md")
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS)
    return OUTSIDE / (path if path.suffix == ".md" else path.with_name(path.name + ".md"))


def _targets(source: PurePosixPath) -> Iterator[PurePosixPath]:
    if source.suffix == ".md":
        for match in _LINK.finditer((ROOT / source).read_text()):
            if match["file"]:
                yield target(source, match["file"])


def main() -> None:
    """Exit code: the generator's; 1 where a link leads to nothing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="and show it, until Ctrl-C")
    options = parser.parse_args()
    shutil.rmtree(PAGES, ignore_errors=True)
    try:
        for path, text in gathered().items():
            (PAGES / path).parent.mkdir(parents=True, exist_ok=True)
            (PAGES / path).write_text(text)
        shutil.copytree(ROOT / DOCS / "assets", PAGES / "assets")
    except LookupError as error:
        sys.exit(str(error))
    words = ["serve"] if options.serve else ["build", "--clean", "--strict"]
    program = Path(sys.executable).with_name("zensical")
    sys.exit(subprocess.run([program, *words], cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
