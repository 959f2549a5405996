// Only on pages with widgets, before their scripts.
// Their icons stay as the widgets make them: the theme would put pictures in their place, and buttons would fail.
window.FontAwesomeConfig = { observeMutations: false };
// Read by require.js: the font of the icons is in _static/widgets/, whatever page asks for it.
const widgetFolder = new URL("widgets", document.currentScript.src).href;
var require = { paths: { "@jupyter-widgets": widgetFolder, "@jupyter-widgets/html-manager/dist": widgetFolder } };
// Widgets ask MathJax 2 to set the formulas in their text; this book has MathJax 3.
addEventListener("load", () => {
  if (window.MathJax) MathJax.Hub = { Queue: ([, , element]) => MathJax.typesetPromise([element]) };
});
