// roles/registrar
