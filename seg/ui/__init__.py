"""The page: the only part of SegLab that imports Gradio."""
