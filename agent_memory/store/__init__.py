"""The fast half: the SQL record, its postings and vectors, and how they are erased."""
