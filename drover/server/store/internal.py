"""Tables that the store needs for itself; the resources' own tables come from their declarations."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# Byte-wise comparison everywhere: two names that differ in case are two claims.
_key = sa.String(255).with_variant(sa.String(255, collation="utf8mb4_bin"), "mysql", "mariadb")

claim = sa.Table(
    "claim",
    metadata,
    sa.Column("key", _key, primary_key=True),
    sa.Column("owner_type", sa.String(64), nullable=False),
    sa.Column("owner_id", sa.BigInteger, nullable=False),
    sa.Index("ix_claim_owner", "owner_type", "owner_id"),
)

id_block = sa.Table(
    "id_block",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("next", sa.BigInteger, nullable=False),
)

server_member = sa.Table(
    "server_member",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("heartbeat", sa.BigInteger, nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),
)
