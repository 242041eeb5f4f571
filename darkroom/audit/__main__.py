"""`python -m darkroom.audit`: see darkroom/audit/page.py."""

from darkroom.audit.page import main

main()
