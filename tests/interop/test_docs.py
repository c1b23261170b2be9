"""The API's documentation, open in a real browser without anything from elsewhere."""

import json
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

from conftest import program, wait_for

CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-default-apps", "--no-first-run", "--window-size=1300,1500",
    # Time runs on as fast as scripts do, and the page is taken when it has settled.
    "--virtual-time-budget=15000",
    # No other host can be reached: what needed one would be missing from the page.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


def opened(gateway, path, directory):
    """The page as the browser shows it, and the addresses that it asked for itself."""
    log = directory / "network.json"
    chromium = program("chromium")
    command = [chromium, *CHROMIUM_FLAGS, f"--user-data-dir={directory / 'profile'}", f"--log-net-log={log}", "--dump-dom",
               gateway.url + path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    network = json.loads(log.read_text())
    # The browser's own housekeeping has no initiator; what a page loads has the page's origin.
    asked = {
        params["url"] for event in network["events"]
        if (params := event.get("params") or {}) and "url" in params
        and params.get("initiator", "not an origin") not in ("not an origin", "")
    }
    return done.stdout, asked


@pytest.mark.parametrize("path, files", [
    ("/api/docs", ["/api/docs/swagger-ui.css", "/api/docs/swagger-ui-bundle.js", "/api/docs/start.js", "/api/openapi.json"]),
    ("/api/redoc", ["/api/redoc/redoc.standalone.js", "/api/redoc/start.js", "/api/openapi.json"]),
])
def test_a_page_renders_and_asks_nobody_else(gateway, tmp_path, path, files):
    html, asked = opened(gateway, path, tmp_path)
    text = re.sub(r"<[^>]*>|​", "", html)
    assert "/api/v1/heartbeat" in text, text[:2000]
    assert "A sign of life" in text, text[:2000]
    urls = [urllib.parse.urlsplit(url) for url in asked]
    network = [url for url in urls if url.scheme not in ("data", "blob", "about")]
    assert {url.netloc for url in network} == {gateway.at["http"]}, asked
    assert set(files) <= {url.path for url in network}, asked


def test_schemathesis_finds_no_5xx_and_no_answer_against_its_schema(gateway, tmp_path):
    """Every operation, with its examples and made-up requests, right and wrong; a fixed seed. The stream has no end."""
    key = gateway.cli("keys", "create", "--scopes", "ingest,read,runner,command,approve,admin").splitlines()[-1]
    wait_for(lambda: gateway.request("GET", "/api/v1/status", key=key)[0] == 200, why="the new key is in force")
    gateway.beat("research-agent", tokens_used=3, restart_type="docker", restart_target="bot")
    command = [
        pathlib.Path(sys.executable).with_name("st"), "run", f"{gateway.url}/api/openapi.json", "--header", f"X-API-Key: {key}",
        "--exclude-path", "/api/v1/stream", "--phases", "examples,fuzzing", "--max-examples", "8", "--seed", "7",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--request-timeout", "5", "--no-shrink", "--no-color",
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
