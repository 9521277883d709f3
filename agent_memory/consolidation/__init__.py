"""The slow half: select, study, distil, examine, promote."""
