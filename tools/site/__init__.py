"""The site: `make site` builds it, `make site-serve` serves it, `make site-test` tries it."""
