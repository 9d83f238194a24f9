// roles/proxy
