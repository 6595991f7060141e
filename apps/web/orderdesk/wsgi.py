"""What gunicorn loads: `gunicorn orderdesk.wsgi:app`. Each worker loads it for itself, and so the release that is named then."""

from orderdesk.app import create_app
from orderdesk.config import Config
from orderdesk.database import OrderBook
from orderdesk.release import named, put_into

config, release = Config.from_environment(), named()
app = create_app(config, OrderBook(config), release)
put_into(app, release)
