"""The registry's tables, as numbered migrations; append, never edit what was released.

A content is a set of files with its origin; a version gives a content a name and a number. `names.newest` is the
sequence of a name's latest visible version, kept up to date by whoever shows or hides one, so that a list of the
newest fifty names is one walk along an index however many versions there are.
"""

COMPONENT = "registry"
MIGRATIONS = (
    """
    CREATE TABLE contents (
        id TEXT PRIMARY KEY,                -- sha256 of the manifest, lower-case hex
        kind TEXT NOT NULL,
        base TEXT,
        base_revision TEXT,
        size_bytes INTEGER NOT NULL,
        created REAL NOT NULL,              -- seconds since 1970, UTC
        recipe TEXT,
        metadata TEXT NOT NULL,             -- JSON object; outside the hash, may change
        manifest TEXT NOT NULL              -- canonical JSON; never changes
    ) WITHOUT ROWID;
    CREATE TABLE names (
        name TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        last_number INTEGER NOT NULL,       -- never goes down: numbers are not used twice
        newest INTEGER                      -- versions.sequence, or NULL when nothing is visible
    ) WITHOUT ROWID;
    CREATE TABLE versions (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL REFERENCES names (name),
        number INTEGER NOT NULL,
        content_id TEXT NOT NULL REFERENCES contents (id),
        created REAL NOT NULL,
        hidden REAL,                        -- when it was removed, or NULL
        is_forced INTEGER NOT NULL DEFAULT 0,  -- removed although versions were made from it
        UNIQUE (name, number)
    );
    CREATE TABLE parents (
        child_id TEXT NOT NULL REFERENCES contents (id) ON DELETE CASCADE,
        parent_id TEXT NOT NULL,            -- may be unknown here, or gone
        role TEXT NOT NULL,
        PRIMARY KEY (child_id, parent_id, role)
    ) WITHOUT ROWID;
    CREATE TABLE aliases (
        name TEXT NOT NULL,
        alias TEXT NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (name, alias),
        FOREIGN KEY (name, number) REFERENCES versions (name, number)
    ) WITHOUT ROWID;
    CREATE TABLE alias_moves (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        alias TEXT NOT NULL,
        from_number INTEGER,
        to_number INTEGER,
        time REAL NOT NULL
    );
    CREATE INDEX names_by_newest ON names (newest);
    CREATE INDEX names_by_kind ON names (kind, newest);
    CREATE UNIQUE INDEX versions_by_content ON versions (content_id, name);
    CREATE INDEX versions_by_hidden ON versions (hidden) WHERE hidden IS NOT NULL;
    CREATE INDEX parents_by_parent ON parents (parent_id);
    CREATE INDEX aliases_by_number ON aliases (name, number);
    CREATE INDEX alias_moves_by_alias ON alias_moves (name, alias, sequence);
    """,
)
