"""A chat completions API whose answers are a script: two tool calls' worth of talk with exact token counts.

Run as a program it serves on a port of the kernel's choice, prints it, and ends when its standard input does.
"""

import http.server
import json
import sys
import threading


class Llm(http.server.BaseHTTPRequestHandler):
    calls = 0

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        n, type(self).calls = self.calls, self.calls + 1
        if any("fail" in str(m.get("content")) for m in body["messages"]):
            return self.answer(429, {"error": {"message": "slow down", "type": "rate_limit", "code": "rate_limit"}})
        usage = {"prompt_tokens": 100 + n, "completion_tokens": 10 + n, "total_tokens": 110 + 2 * n}
        message = {"role": "assistant", "content": f"answer {n}"}
        self.answer(200, {
            "id": f"chatcmpl-{n}", "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        })

    def answer(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Llm)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
