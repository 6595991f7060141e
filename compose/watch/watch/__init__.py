"""The eyes of the monitoring box, and its ear: what is to be seen of the system, as metrics; the alerts, as lines."""
