"""Page "Use it from code": the same two questions from Python, JavaScript, a shell and an agent, to this very server.

Served by itself and not by Gradio, so that it can be read by a program too. The snippets are complete: a test takes
them out of the page and runs them.
"""

from __future__ import annotations

import html
from pathlib import Path

from seg.checkpoint import list_checkpoints
from seg.ui.networks import default_networks
from seg.ui.text import LANGUAGES, say

_PAGE = (Path(__file__).parent / "code.html").read_text("utf-8")

PYTHON = """\
# pip install gradio_client
from gradio_client import Client, handle_file

client = Client("ROOT")
labels, overlay, facts = client.predict(handle_file("photo.jpg"), "NETWORK", False, api_name="/segment")
print(labels)            # path of a PNG whose pixel values are class ids
print(facts["classes"])  # share of the photo per class
differences, facts = client.predict(handle_file("photo.jpg"), NETWORKS, api_name="/compare")
print(facts["agreement"])  # share of the photo on which all say the same
"""

FETCH = """\
// In a browser, or in Node 18 and later. `photo` is a File or a Blob.
async function segment(photo, network = "NETWORK", crf = false) {
  const form = new FormData();
  form.append("files", photo, "photo");
  const [path] = await (await fetch("ROOT/gradio_api/upload", { method: "POST", body: form })).json();
  const asked = await fetch("ROOT/gradio_api/call/segment", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ data: [{ path }, network, crf] }),
  });
  const { event_id } = await asked.json();
  const said = await (await fetch(`ROOT/gradio_api/call/segment/${event_id}`)).text();
  const answer = JSON.parse(said.match(/data: (.*)\\s*$/)[1]);
  if (!said.includes("event: complete")) throw new Error(answer?.error);
  const [labels, overlay, facts] = answer;
  return { labels: labels.url, overlay: overlay.url, facts };
}
"""

CURL = """\
path=$(curl -s ROOT/gradio_api/upload -F files=@photo.jpg | cut -d '"' -f 2)
id=$(curl -s ROOT/gradio_api/call/segment -H "Content-Type: application/json" \\
  -d '{"data": [{"path": "'"$path"'"}, "NETWORK", false]}' | cut -d '"' -f 4)
curl -sN "ROOT/gradio_api/call/segment/$id" > answer.txt
cat answer.txt
curl -s -o labels.png "$(grep -o '"url": *"[^"]*"' answer.txt | head -n 1 | cut -d '"' -f 4)"
"""

AGENT = """\
{"mcpServers": {"seglab": {"url": "ROOT/gradio_api/mcp/"}}}
"""

UPLOAD = """\
curl -s ROOT/gradio_api/upload -F files=@photo.jpg
"""

HEALTH = """\
curl -s ROOT/health
"""

_SECTIONS: list[tuple[dict[str, str], dict[str, str], str]] = [
    (
        {"en": "Python", "zh": "Python"},
        {
            "en": "A photo that cannot be used raises an error that says why and what to do.",
            "zh": "如果照片无法使用，会抛出异常，说明原因和办法。",
        },
        PYTHON,
    ),
    (
        {"en": "JavaScript, without a package", "zh": "JavaScript，不用任何包"},
        {
            "en": "Upload, ask, fetch the answer. For /compare the data is the photo and a list of networks.",
            "zh": "上传、提问、取回结果。用 /compare 时，data 是照片和网络名的列表。",
        },
        FETCH,
    ),
    (
        {"en": "curl", "zh": "curl"},
        {
            "en": "answer.txt holds the addresses of both pictures, and the facts.",
            "zh": "answer.txt 里有两张图片的地址和各项数值。",
        },
        CURL,
    ),
    (
        {"en": "Agents (MCP)", "zh": "智能体（MCP）"},
        {
            "en": "This server is a Model Context Protocol server with two tools, segment_photo and compare_networks.",
            "zh": "本服务器也是一个模型上下文协议（MCP）服务器，有 segment_photo 和 compare_networks 两个工具。",
        },
        AGENT,
    ),
    (
        {"en": "A photo for an agent", "zh": "给智能体一张照片"},
        {
            "en": "Upload it, and give the tool ROOT/gradio_api/file= followed by the path that comes back. A data: "
            "address works too. Other addresses are not fetched.",
            "zh": "先上传，再把 ROOT/gradio_api/file= 加上返回的路径交给工具。data: 地址也可以。其他地址不会去下载。",
        },
        UPLOAD,
    ),
    (
        {"en": "Health", "zh": "运行状态"},
        {
            "en": "Which networks answer, on what, and how many requests are waiting.",
            "zh": "有哪些网络、运行在什么设备上、多少请求在排队。",
        },
        HEALTH,
    ),
]


def snippets(root: str) -> dict[str, str]:
    """Every snippet by its English heading, with the server's address in it."""
    return {heading["en"]: _filled(code, root) for heading, _, code in _SECTIONS}


def page(root: str, language: str) -> str:
    """The page's HTML.

    Args:
        root: address of this server, without a slash at its end.
        language: "en" or "zh".
    """
    sections = [
        f"<section><h2>{html.escape(heading[language])}</h2><p>{html.escape(_filled(words[language], root))}</p>"
        f'<div class="snippet"><pre tabindex="0"><code>{html.escape(_filled(code, root))}</code></pre>'
        f'<button type="button" data-done="{say(language, "code_copied")}" hidden>{say(language, "code_copy")}</button>'
        "</div></section>"
        for heading, words, code in _SECTIONS
    ]
    other_name, other = next((name, code) for name, code in LANGUAGES.items() if code != language)
    values = {"LANG": language, "OTHER_NAME": other_name, "OTHER": other, "TITLE": say(language, "code")}
    filled = _PAGE
    for name, value in {**values, "SECTIONS": "\n".join(sections)}.items():
        filled = filled.replace(f"%{name}%", value)
    return filled


def _filled(text: str, root: str) -> str:
    names = list_checkpoints()
    network = "unet" if "unet" in names else names[0]
    networks = str(default_networks()).replace("'", '"')
    return text.replace("NETWORKS", networks).replace("NETWORK", network).replace("ROOT", root)
