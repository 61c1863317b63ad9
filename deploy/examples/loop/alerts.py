"""A webhook for Alertmanager, in place of somebody's tracker.

    alerts.py DIRECTORY

Prints the address that it listens on. An alert that fires is DIRECTORY/NAME.firing, one that is over
DIRECTORY/NAME.over; each holds what Alertmanager tells of it, in JSON.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

directory = Path(sys.argv[1])


class Webhook(BaseHTTPRequestHandler):
    """Takes messages of alerts."""

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in message["alerts"]:
            state = "firing" if alert["status"] == "firing" else "over"
            new = directory / "new"
            new.write_text(json.dumps(alert))
            # A reader who sees the file sees all of it.
            new.rename(directory / f"{alert['labels']['alertname']}.{state}")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", 0), Webhook)
print(f"127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
