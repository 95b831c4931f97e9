{# The first instant of a local day, as a UTC datetime.
   If midnight occurs twice (America/Havana), it is the first one. If the clock skips midnight
   (Africa/Cairo), it is the instant of the skip, which is midnight by the offset before it. #}
{% macro first_instant(day, zone) -%}
    {%- set utc = modules.pytz.utc -%}
    {%- set midnight = modules.datetime.datetime(day.year, day.month, day.day) -%}
    {%- set readings = [
        zone.localize(midnight, is_dst=true).astimezone(utc),
        zone.localize(midnight, is_dst=false).astimezone(utc),
    ] -%}
    {%- set earliest = readings | min -%}
    {%- if earliest.astimezone(zone).replace(tzinfo=none) == midnight -%}
        {%- do return(earliest) -%}
    {%- endif -%}
    {%- do return(readings | max) -%}
{%- endmacro %}
