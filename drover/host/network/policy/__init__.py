"""Network policies on the host: from the policy model to sets and rules."""
