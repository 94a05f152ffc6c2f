"""The names of an environment, answered to the containers of one host.

A replica of the environment becomes records (:mod:`directory`), records become what each container may see
(:mod:`view`), and what was asked once becomes bytes that are sent again without another thought (:mod:`responder`).
Everything else goes to the name servers outside (:mod:`forward`).
"""
