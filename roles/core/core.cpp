// roles/core
