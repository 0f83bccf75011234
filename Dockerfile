# SegLab in a container, on the processor: docker build -t seglab . && docker run --rm -p 7860:7860 seglab
FROM python:3.12-slim
WORKDIR /app
COPY requirements.txt .
# PyTorch's CPU build first: the one from PyPI brings several gigabytes of CUDA.
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu && \
    pip install --no-cache-dir -r requirements.txt && \
    useradd --create-home somebody
COPY app.py LICENSE NOTICE ./
COPY seg seg
COPY checkpoints checkpoints
# Everything that is written lies below /tmp: `docker run --read-only --tmpfs /tmp` works.
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_TEMP_DIR=/tmp/gradio MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
USER somebody
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=5)"]
CMD ["python", "app.py"]
