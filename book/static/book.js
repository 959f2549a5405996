// Beside a result, search shows a piece of its page, which a browser may not fetch from file://.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
