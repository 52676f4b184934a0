"""What a recipe says: its schema, its parsing, and the documents and references in it. No file is opened here."""
