"""Fair tables: pairs of files, systems that make estimates of them, scores, intervals, tests and pages."""
