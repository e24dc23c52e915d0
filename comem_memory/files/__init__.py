"""Files: pictures, items to read, a cache, work that resumes."""
