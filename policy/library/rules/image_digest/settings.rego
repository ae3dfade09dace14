package commitgate.image_digest

# Images that may go by tag; * stands for anything.
except := []
