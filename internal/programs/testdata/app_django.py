"""Django: migrations, the ORM, atomic blocks, server-side cursors."""
import os
import sys

import django
from django.conf import settings

if sys.argv[1] != "work":
    sys.exit()
settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"], "USER": os.environ["PGUSER"],
        "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"], "CONN_MAX_AGE": 60,
    }},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    USE_TZ=True, TIME_ZONE="Europe/Berlin", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import Count

call_command("migrate", verbosity=0)
call_command("showmigrations", verbosity=0, stdout=open(os.devnull, "w"))
group = Group.objects.create(name="editors")
for i in range(20):
    User.objects.create_user(f"user{i}", password=None).groups.add(group)
try:
    with transaction.atomic():
        User.objects.filter(username="user0").delete()
        with transaction.atomic():
            User.objects.create_user("user1")
    sys.exit("no error")
except IntegrityError:
    pass
assert User.objects.count() == 20
with transaction.atomic():
    locked = User.objects.select_for_update().get(username="user3")
    locked.email = "three@example.com"
    locked.save()
assert len(list(User.objects.all().iterator(chunk_size=3))) == 20
assert Group.objects.annotate(n=Count("user")).get().n == 20
with connection.cursor() as c:
    c.execute("show timezone")
    assert c.fetchone() == ("UTC",)
assert {"auth_user", "django_migrations"} <= set(connection.introspection.table_names())
call_command("migrate", "auth", "zero", verbosity=0)
call_command("migrate", "contenttypes", "zero", verbosity=0)
call_command("migrate", "sessions", "zero", verbosity=0)
with connection.cursor() as c:
    c.execute("drop table django_migrations")
