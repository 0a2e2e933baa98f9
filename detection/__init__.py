"""Object detection: R-CNN (Girshick et al. 2014) and everything around it."""
