"""The API for a person: the same URLs, answered with pages that link, filter, create, change and act.

Pages are rendered by the server and need no script. Everything that comes from data is escaped by the template engine,
and the content policy of the pages forbids scripts altogether.
"""

from drover.server.api.html.forms import decode_form, is_form
from drover.server.api.html.pages import after_form, html_response, static_routes, wants_html

__all__ = ["after_form", "decode_form", "html_response", "is_form", "static_routes", "wants_html"]
