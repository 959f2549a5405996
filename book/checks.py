"""What may be wrong with a built book: pages that are missing, resources of other hosts, links that lead nowhere."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


def missing_pages(pages: list[str], html: Path) -> list[str]:
    """One sentence for the front page and each page of the contents that was not built."""
    files = [f"{page}.html" for page in ("index", *pages)]
    return [f"the page {name} was not built" for name in files if not (html / name).is_file()]


def network_resources(html: Path) -> list[str]:
    """One sentence for each script, style, picture or font that a page would load from the network."""
    tag = r"""<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=["']((?:https?:)?//[^"']+)"""
    rule = r"""(?:@import\s+|url\()\s*["']?((?:https?:)?//[^"')\s]+)"""
    return [
        f"{path.relative_to(html)} loads {address} from the network"
        for pattern, suffix in ((tag, ".html"), (rule, ".html"), (rule, ".css"))
        for path in sorted(html.rglob(f"*{suffix}"))
        for address in re.findall(pattern, path.read_text(encoding="utf-8"))
    ]


def broken_links(html: Path) -> list[str]:
    """One sentence for each link, script or picture of a page that leads to no file or no place in the book."""
    files = [*html.glob("*.html"), *html.glob("[!_]*/**/*.html")]
    pages = {path.resolve(): Anchors(path) for path in sorted(files)}
    problems = []
    for path, page in pages.items():
        for address in page.addresses:
            parts = urlsplit(address)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].names if target in pages else ()
            if parts.scheme or parts.netloc or (target.is_file() and parts.fragment in ("", *known)):
                continue
            problems.append(f"{path.relative_to(html.resolve())} links to {address}, which is not there")
    return problems


class Anchors(HTMLParser):
    """What a page refers to (`addresses`) and the places in it that can be referred to (`names`)."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses, self.names = set(), set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" or (tag, name) == ("a", "name"):
                self.names.add(value)
            elif name in ("href", "src") and value:
                self.addresses.add(value)
