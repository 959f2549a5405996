"""Names that become markup, code or commands wherever they are not quoted."""

NAMES = (
    "<img src=x onerror=alert(1)>",
    "a|b",
    '"; rm -rf ~; "',
    "](javascript:x)",
    "[x](javascript:x)",
    "![x](http://x)",
    "one\ntwo\n\n# three",
    "`x` ``` y",
    "```\n<script>alert(1)</script>\n```",
    "$(touch x)",
    "*a* __b__ ~~c~~ &lt;",
    "'); import os; os.system('x'); ('",
    "</pre></td><script>alert(1)</script>",
    "{0.__class__}",
)
