"""Parameter space: where tasks move an initialisation, for the meta-learned one beside an ordinary one."""
