"""Every link inside the site leads to a file, and its anchor is there. Needs no browser."""

from __future__ import annotations

import pathlib
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit


class Links(HTMLParser):
    """Collects what a page links to, and what can be linked to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.to: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's target and name."""
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src") and value:
                self.to.add(value)


def read(site: pathlib.Path) -> dict[str, Links]:
    """Return the links of all pages by their path."""
    found = {}
    for file in site.rglob("*.html"):
        links = Links()
        links.feed(file.read_text(encoding="utf-8"))
        found["/" + file.relative_to(site).as_posix()] = links
    return found


def test_links_inside_the_site(site: pathlib.Path) -> None:
    """Links to other sites are left alone."""
    pages = read(site)
    assert len(pages) > 350
    broken = []
    for page, links in pages.items():
        for link in links.to:
            whole = urlsplit(urljoin(f"http://site{page}", link))
            if whole.netloc != "site":
                continue
            path = unquote(whole.path)
            if path.endswith("/"):
                path += "index.html"
            if not (site / path.lstrip("/")).is_file():
                broken.append(f"{page}: {link}: no such file")
            elif whole.fragment and path in pages and unquote(whole.fragment) not in pages[path].anchors:
                broken.append(f"{page}: {link}: no such anchor")
    assert not broken, "\n".join(broken[:50])


def test_pages_load_nothing_from_other_sites(site: pathlib.Path) -> None:
    """Scripts, styles and pictures are the site's own; only a reader's click leaves it."""
    wrong = []
    for file in site.rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        for tag in ("<script", "<link", "<img", "<iframe"):
            for part in text.split(tag)[1:]:
                head = part.partition(">")[0]
                if 'src="http' in head or 'src="//' in head or (tag == "<link" and 'href="http' in head):
                    wrong.append(f"{file.name}: {tag}{head}>")
    assert not wrong, "\n".join(wrong[:20])
