"""Files that users upload: recordings in every supported format, and files that are rejected."""

from __future__ import annotations

import io

import av
import numpy as np

from tests.worker.sounds import encoded, speech, wav

FORMATS = {
    "wav-u8": ("wav", "pcm_u8", 16000, "mono"),
    "wav-24bit-48k-stereo": ("wav", "pcm_s24le", 48000, "stereo"),
    "wav-32bit-44k1": ("wav", "pcm_s32le", 44100, "mono"),
    "wav-float-96k": ("wav", "pcm_f32le", 96000, "mono"),
    "wav-alaw-8k": ("wav", "pcm_alaw", 8000, "mono"),
    "wav-mulaw-8k-stereo": ("wav", "pcm_mulaw", 8000, "stereo"),
    "wav-adpcm": ("wav", "adpcm_ms", 16000, "mono"),
    "wav-11k": ("wav", "pcm_s16le", 11025, "mono"),
    "wav-22k": ("wav", "pcm_s16le", 22050, "mono"),
    "wav-5.1": ("wav", "pcm_s16le", 48000, "5.1"),
    "mp3": ("mp3", "libmp3lame", 44100, "stereo"),
    "m4a": ("ipod", "aac", 44100, "stereo"),
    "aac": ("adts", "aac", 16000, "mono"),
    "flac": ("flac", "flac", 44100, "stereo"),
    "ogg-opus": ("ogg", "libopus", 48000, "mono"),
    "webm": ("webm", "libopus", 48000, "mono"),
    "aiff": ("aiff", "pcm_s16be", 44100, "stereo"),
    "wma": ("asf", "wmav2", 44100, "stereo"),
    "3gp": ("3gp", "aac", 16000, "mono"),
    "caf": ("caf", "pcm_s16be", 22050, "mono"),
    "ac3": ("ac3", "ac3", 48000, "stereo"),
    "eac3": ("eac3", "eac3", 48000, "stereo"),
    "mpeg-ts": ("mpegts", "aac", 44100, "stereo"),
    "mp2": ("mp2", "mp2", 44100, "stereo"),
    "mpeg-ps": ("mpeg", "mp2", 44100, "stereo"),
    "mka": ("matroska", "flac", 44100, "stereo"),
    "mov-alac": ("mov", "alac", 44100, "stereo"),
    "flv": ("flv", "libmp3lame", 44100, "stereo"),
    "avi": ("avi", "pcm_s16le", 44100, "stereo"),
    "wavpack": ("wv", "wavpack", 44100, "stereo"),
    "au-mulaw": ("au", "pcm_mulaw", 8000, "mono"),
    "w64": ("w64", "pcm_s16le", 44100, "mono"),
    "true-audio": ("tta", "tta", 44100, "stereo"),
    "voc": ("voc", "pcm_s16le", 16000, "mono"),
    "realmedia": ("rm", "ac3", 44100, "stereo"),
    "wav-double": ("wav", "pcm_f64le", 16000, "mono"),
    "wav-g722": ("wav", "g722", 16000, "mono"),
    "wav-ima-adpcm": ("wav", "adpcm_ima_wav", 16000, "mono"),
}


def video(codec: str) -> bytes:
    """A video without a sound track."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for packet in [*stream.encode(av.VideoFrame(64, 48, "yuv420p")), *stream.encode(None)]:
            output.mux(packet)
    return file.getvalue()


REJECTED = {
    "empty": (b"", "empty"),
    "header only": (wav(np.zeros(0, np.int16)), "no-audio"),
    "half a header": (wav(speech())[:30], "not-audio"),
    "text": (b"Dear Sir or Madam,\nplease find attached the recording.\n" * 50, "not-audio"),
    "zeros": (bytes(100_000), "not-audio"),
    "html": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20, "not-audio"),
    "zip": (b"PK\x03\x04" + bytes(range(256)) * 40, "not-audio"),
    "m4a without its index": (encoded(speech(), "ipod", "aac")[:5000], None),
    "playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "not-audio"),
    "concat script": (b"ffconcat version 1.0\nfile /etc/passwd\n", "not-audio"),
    "sdp": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n", "not-audio"),
    "video without sound": (video("mpeg4"), "no-audio"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8, "not-audio"),
    "pdf": (b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\n" * 40, "not-audio"),
    "wav of an unknown codec": (
        wav(speech()).replace(b"\x01\x00\x01\x00\x80\x3e", b"\x99\x77\x01\x00\x80\x3e", 1),
        None,
    ),
    "wav without a rate": (wav(speech(), rate=0), None),
    "wav without channels": (wav(speech()).replace(b"\x01\x00\x01\x00", b"\x01\x00\x00\x00", 1), None),
    "one byte": (b"R", "not-audio"),
}
