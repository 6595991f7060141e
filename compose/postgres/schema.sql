-- Orders are append-only. The key is made by the client and deliberately NOT unique: a write that was
-- executed twice must show as two rows, not be hidden by a constraint.
CREATE TABLE orders (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        text        NOT NULL,
    item       text        NOT NULL,
    quantity   integer     NOT NULL CHECK (quantity > 0),
    placed_by  text        NOT NULL,
    placed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX orders_key ON orders (key text_pattern_ops);
GRANT SELECT, INSERT ON orders TO orderdesk;
GRANT SELECT ON orders TO auditor;
