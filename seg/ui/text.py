"""Every word the page says, in English and Chinese. A new language is one more entry per key, and its code below."""

from __future__ import annotations

LANGUAGES = {"English": "en", "中文": "zh"}

_TEXT: dict[str, dict[str, str]] = {
    "tagline": {
        "en": "Upload a photo, see how FCN, U-Net and DeepLabV3 label every pixel of it.",
        "zh": "上传一张照片，看 FCN、U-Net 和 DeepLabV3 如何给每个像素分类。",
    },
    "photo": {"en": "Your photo", "zh": "你的照片"},
    "drop": {
        "en": "Drop or paste a photo here\n- or -\nclick to choose one",
        "zh": "把照片拖到或粘贴到这里\n- 或 -\n点击选择",
    },
    "examples": {"en": "Or try one of these", "zh": "或者试试这些照片"},
    "privacy": {
        "en": "Your photo is only used to answer you, and is deleted within an hour.",
        "zh": "照片只用于给你计算结果，一小时内删除。",
    },
    "knows": {
        "en": "The networks know 20 kinds of things: {classes}. Everything else is background.",
        "zh": "网络认识 20 类物体：{classes}。其余都算背景。",
    },
    "api": {"en": "Use via API", "zh": "通过 API 使用"},
    "segment_tab": {"en": "Segment", "zh": "分割"},
    "compare_tab": {"en": "Compare", "zh": "比较"},
    "network": {"en": "Network", "zh": "网络"},
    "segment": {"en": "Segment", "zh": "开始分割"},
    "compare": {"en": "Compare all networks", "zh": "比较所有网络"},
    "compare_what": {
        "en": "Every network labels the same photo. Point anywhere: all of them answer for that pixel.",
        "zh": "所有网络给同一张照片分类。指向任意一点，看每个网络对该像素的回答。",
    },
    "download_labels": {"en": "Download mask (indexed PNG)", "zh": "下载标签图（索引 PNG）"},
    "download_overlay": {"en": "Download overlay", "zh": "下载叠加图"},
    "download_zip": {"en": "Download all (ZIP)", "zh": "全部下载（ZIP）"},
    "running": {"en": "{title} ({number} of {count})", "zh": "{title}（第 {number} 个，共 {count} 个）"},
    "error_title": {"en": "That did not work", "zh": "没有成功"},
    "error_none": {"en": "Choose a photo first.", "zh": "请先选择一张照片。"},
    "error_address": {
        "en": "Addresses are not fetched. Download the photo and upload the file.",
        "zh": "不读取网址。请先下载照片，再上传文件。",
    },
    "error_empty": {"en": "The file is empty. Choose another photo.", "zh": "文件是空的，请换一张照片。"},
    "error_bytes": {
        "en": "The file is too large; at most {limit} MB are accepted. Save it smaller.",
        "zh": "文件太大，最多接受 {limit} MB。请缩小后再试。",
    },
    "error_not_image": {
        "en": "This is not a picture that can be opened. Use a JPEG, PNG, WebP, GIF, BMP or TIFF file.",
        "zh": "无法作为图片打开。请使用 JPEG、PNG、WebP、GIF、BMP 或 TIFF 文件。",
    },
    "error_damaged": {
        "en": "The picture is damaged or cut off. Open it in a viewer and save it again.",
        "zh": "图片已损坏或不完整。请用看图软件打开并重新保存。",
    },
    "error_tiny": {
        "en": "The picture is {size} pixels; each side needs at least {limit}.",
        "zh": "图片只有 {size} 像素，每边至少需要 {limit}。",
    },
    "error_side": {
        "en": "The picture is {size} pixels; a side may have at most {limit}. Make it smaller.",
        "zh": "图片为 {size} 像素，每边最多 {limit}。请缩小后再试。",
    },
    "error_aspect": {
        "en": "The picture is {size} pixels; one side may be at most {limit} times the other. Crop it.",
        "zh": "图片为 {size} 像素，长边最多是短边的 {limit} 倍。请裁剪后再试。",
    },
    "error_pixels": {
        "en": "The picture has {megapixels} megapixels; at most {limit} are accepted. Make it smaller.",
        "zh": "图片有 {megapixels} 百万像素，最多接受 {limit}。请缩小后再试。",
    },
    "error_missing": {
        "en": "The photo is no longer there. Choose it again.",
        "zh": "照片已不存在，请重新选择。",
    },
    "error_clipboard": {
        "en": "No picture came from the clipboard. Copy one, press Ctrl+V or ⌘V, or upload the file.",
        "zh": "没有从剪贴板得到图片。请先复制一张，再按 Ctrl+V 或 ⌘V，也可以直接上传文件。",
    },
    "error_webcam": {
        "en": "The camera cannot be used: there is none, or the browser does not allow it. Upload a photo instead.",
        "zh": "无法使用摄像头：没有摄像头，或浏览器不允许使用。请改为上传照片。",
    },
}

GRADIO: dict[str, dict[str, str]] = {
    "Drop an image file here to upload": {
        "en": "Drop a photo here, or press to choose one",
        "zh": "把照片拖到这里，或按下选择",
    },
    "Upload file": {"en": "Upload file", "zh": "上传文件"},
    "Capture from camera": {"en": "Capture from camera", "zh": "用摄像头拍摄"},
    "Paste from clipboard": {"en": "Paste from clipboard", "zh": "从剪贴板粘贴"},
    "Click to Access Webcam": {"en": "Click to access the webcam", "zh": "点击打开摄像头"},
    "grant webcam access": {"en": "Let the browser use the webcam", "zh": "允许浏览器使用摄像头"},
    "capture photo": {"en": "Take the picture", "zh": "拍照"},
    "select input source": {"en": "Choose a camera", "zh": "选择摄像头"},
    "select source": {"en": "Cameras", "zh": "摄像头"},
    "Fullscreen": {"en": "Fullscreen", "zh": "全屏"},
    "Exit fullscreen mode": {"en": "Exit fullscreen mode", "zh": "退出全屏"},
    "Remove Image": {"en": "Remove Image", "zh": "移除照片"},
    "Close": {"en": "Close", "zh": "关闭"},
    "chelsea": {"en": "Cat", "zh": "猫"},
    "astronaut": {"en": "Astronaut", "zh": "宇航员"},
    "motorcycle_left": {"en": "Motorcycle", "zh": "摩托车"},
    "lion": {"en": "Lion", "zh": "狮子"},
    "coffee": {"en": "Coffee", "zh": "咖啡"},
    "rocket": {"en": "Rocket", "zh": "火箭"},
}
"""What Gradio writes in English or in the browser's language, and examples' file names, in the page's words."""

VIEWER: dict[str, dict[str, str]] = {
    "en": {
        "empty": "Choose a photo, drop one in, or try an example.",
        "original": "Original",
        "mask": "Mask",
        "overlay": "Overlay",
        "disagreement": "Where they differ",
        "modes": "How classes are drawn",
        "colours": "Colours",
        "outline": "Outlines",
        "confidence": "Confidence",
        "opacity": "Opacity",
        "chips": "Show or hide classes",
        "keys": "Arrow keys move the cursor",
        "hint": "Point at a picture, or focus one and use the arrow keys, to read the class and its confidence.",
        "hintTouch": "Tap a picture to read class and confidence.",
        "sharesTitle": "Share of the photo",
        "factsTitle": "Network",
        "class": "Class",
        "network": "Figure",
        "networkTime": "Time in the network",
        "totalTime": "Time with reading and resizing",
        "input": "Network input, pixels",
        "parameters": "Parameters",
        "macs": "MACs at {size}",
        "miou": "mIoU, VOC 2012 val",
        "allAgree": "all agree",
        "allDiffer": "all differ",
        "oneDiffers": "only {network} differs",
    },
    "zh": {
        "empty": "选择或拖入一张照片，也可以试试示例。",
        "original": "原图",
        "mask": "标签图",
        "overlay": "叠加图",
        "disagreement": "分歧图",
        "modes": "类别的画法",
        "colours": "颜色",
        "outline": "轮廓",
        "confidence": "置信度",
        "opacity": "不透明度",
        "chips": "显示或隐藏类别",
        "keys": "用方向键移动光标",
        "hint": "把鼠标移到图上，或选中一幅图后用方向键，查看该处的类别和网络的把握。",
        "hintTouch": "点按图片，查看类别和网络的把握。",
        "sharesTitle": "占照片的比例",
        "factsTitle": "网络",
        "class": "类别",
        "network": "指标",
        "networkTime": "网络计算时间",
        "totalTime": "含读取和缩放的时间",
        "input": "网络输入（像素）",
        "parameters": "参数量",
        "macs": "乘加运算（{size}）",
        "miou": "mIoU（VOC 2012 val）",
        "allAgree": "全部一致",
        "allDiffer": "各不相同",
        "oneDiffers": "只有 {network} 不同",
    },
}


def say(language: str, key: str, **values: object) -> str:
    """The page's words for `key`; an unknown language falls back to English."""
    entry = _TEXT[key]
    return entry.get(language, entry["en"]).format(**values)


def preferred_language(accept_language: str) -> str:
    """ "zh" if the browser's Accept-Language header names any Chinese before English, else "en"."""
    for entry in accept_language.lower().split(","):
        language = entry.strip().split(";")[0].split("-")[0]
        if language in ("en", "zh"):
            return language
    return "en"
